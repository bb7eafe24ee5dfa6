"""What Playmesh needs in an AWS account."""
