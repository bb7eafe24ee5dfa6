// An independent check of an access token: aws-jwt-verify, given only the JWK Set.
//
//   npm install --no-save aws-jwt-verify
//   node examples/verify_token.mjs http://127.0.0.1:8080 "$TOKEN"
//
// Prints the verified claims, or says why the token is refused and exits with 1.
import { JwtVerifier } from "aws-jwt-verify";

const [issuer, token] = process.argv.slice(2);
const answer = await fetch(`${issuer}/.well-known/jwks.json`);
const verifier = JwtVerifier.create({ issuer, audience: "gamebackend", jwksUri: answer.url });
verifier.cacheJwks(await answer.json());
try {
  console.log(await verifier.verify(token));
} catch (error) {
  console.error(`refused: ${error.message}`);
  process.exit(1);
}
