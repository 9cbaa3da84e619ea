// A certified OpenID provider on loopback for the sign-in tests: one public
// client with PKCE and the device flow, whose people have groups. The script has
// no opinion of its own on tokens; it configures the provider and answers its
// login page.
import { createRequire } from 'node:module';
import http from 'node:http';
import path from 'node:path';

const require = createRequire(path.join(process.env.FIREKEEP_NODE_MODULES, 'x.js'));
const { Provider } = await import(require.resolve('oidc-provider'));

const people = { ann: ['engineers'], eve: ['guests'] };
const server = http.createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const client = (client_id) => ({
  client_id, token_endpoint_auth_method: 'none', application_type: 'native', response_types: ['code'],
  grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
  redirect_uris: ['http://127.0.0.1/callback'],
});
const provider = new Provider(issuer, {
  clients: [client('firekeep-cli'), client('other-program')],
  conformIdTokenClaims: false,
  claims: { openid: ['sub', 'groups'], email: ['email', 'email_verified'], profile: ['name'] },
  features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
  pkce: { required: () => true },
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, groups: people[sub] ?? [], email: `${sub}@example.com`, email_verified: true, name: sub }),
  }),
});
server.on('request', provider.callback());
console.log(issuer);
