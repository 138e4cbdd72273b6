// Asks gateways through the clients that pages use, one after the other, and prints what each of them gave and sent.
// Standard input is JSON: the URLs of three gateways (`automatic` registers documents, `off` does not, `trusted` has
// those of a manifest), a `query` with its `variables`, `wrong`, a query that is refused, and the `documentId` under
// which the query is in the manifest.
import { channel } from "node:diagnostics_channel";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import * as apollo4 from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { Client, fetchExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import apollo3 from "apollo-client-3/core/core.cjs";
import apollo3Persisted from "apollo-client-3/link/persisted-queries/persisted-queries.cjs";
import { GraphQLClient } from "graphql-request";
import relay from "relay-runtime";

const { automatic, off, trusted, query, variables, wrong, documentId } = JSON.parse(readFileSync(0, "utf8"));
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
// Node.js sends no Origin, which lets a page's GET in, so its GET needs a header that pages cannot send unasked.
const headers = { "x-requested-with": "fetch" };

let sent = [];
let connections = 0;
channel("undici:client:connected").subscribe(() => (connections += 1));
const plainFetch = globalThis.fetch;
globalThis.fetch = async (url, options) => {
  const { searchParams } = new URL(url);
  const parameters = ["query", "documentId", "extensions"].map((name) => [name, searchParams.get(name)]);
  const body = options.method === "POST" ? JSON.parse(options.body) : Object.fromEntries(parameters);
  const extensions = typeof body.extensions === "string" ? JSON.parse(body.extensions) : body.extensions;
  const response = await plainFetch(url, options);
  const named = extensions?.persistedQuery ? "hash" : body.documentId ? "id" : null;
  sent.push([options.method, named, body.query ? "query" : null].filter(Boolean).join(" "));
  return response;
};

const codeOf = (errors) => errors?.[0]?.extensions?.code;

function apollo({ ApolloClient, InMemoryCache, HttpLink, gql }, persisted, readErrors) {
  return async (url, text, { hashed = false, get = false } = {}) => {
    const http = new HttpLink({ uri: url, headers });
    const link = hashed ? persisted({ sha256, useGETForHashedQueries: get }).concat(http) : http;
    const client = new ApolloClient({ cache: new InMemoryCache(), link, devtools: { enabled: false } });
    return async () => {
      const asked = { query: gql(text), variables, fetchPolicy: "no-cache" };
      try {
        return { data: (await client.query(asked)).data };
      } catch (error) {
        return { code: codeOf(readErrors(error)) };
      }
    };
  };
}

async function urql(url, text, { hashed = false, get = false } = {}) {
  const persisted = persistedExchange({ generateHash: sha256, preferGetForPersistedQueries: get });
  const client = new Client({
    url,
    exchanges: [...(hashed ? [persisted] : []), fetchExchange],
    preferGetMethod: get,
    fetchOptions: { headers },
    requestPolicy: "network-only",
  });
  return async () => {
    const { data, error } = await client.query(text, variables).toPromise();
    return error ? { code: codeOf(error.graphQLErrors) } : { data };
  };
}

async function graphqlRequest(url, text) {
  const client = new GraphQLClient(url);
  return async () => {
    try {
      return { data: await client.request(text, variables) };
    } catch (error) {
      return { code: codeOf(error.response.errors) };
    }
  };
}

// What Relay's compiler makes of the query, as far as its runtime reads it.
function artifact(text, id) {
  const scalar = (name) => ({ kind: "ScalarField", name, alias: null, args: null, storageKey: null });
  const given = (...names) => names.map((name) => ({ kind: "Variable", name, variableName: name }));
  const linked = (name, concreteType, args, selections, plural = false) => ({
    kind: "LinkedField", name, alias: null, args, concreteType, plural, selections, storageKey: null,
  });
  const slots = linked("timeslots", "Timeslot", given("first"), [scalar("id"), scalar("start")], true);
  const selections = [linked("careUnit", "CareUnit", given("id"), [scalar("id"), scalar("name"), slots])];
  const argumentDefinitions = ["id", "first"].map((name) => ({ kind: "LocalArgument", name, defaultValue: null }));
  return {
    kind: "Request",
    fragment: { kind: "Fragment", name: "Clinic", type: "Query", metadata: null, argumentDefinitions, selections },
    operation: { kind: "Operation", name: "Clinic", argumentDefinitions, selections },
    params: { name: "Clinic", operationKind: "query", id, text, cacheID: id ?? sha256(text), metadata: {} },
  };
}

async function relayRuntime(url, text, { trustedId = null } = {}) {
  const { Environment, Network, RecordSource, Store, createOperationDescriptor, fetchQuery } = relay;
  const network = Network.create(async ({ id, text: document }, given) => {
    const named = id ? { documentId: id } : { query: document };
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/graphql-response+json" },
      body: JSON.stringify({ ...named, variables: given }),
    });
    return response.json();
  });
  const environment = new Environment({ network, store: new Store(new RecordSource()) });
  const request = artifact(trustedId ? null : text, trustedId);
  return async () => {
    try {
      return { data: await fetchQuery(environment, request, variables).toPromise() };
    } catch (error) {
      return { code: codeOf(error.source?.errors) };
    }
  };
}

const CLIENTS = {
  apollo3: apollo(apollo3, apollo3Persisted.createPersistedQueryLink, (error) =>
    error.graphQLErrors.length ? error.graphQLErrors : error.networkError?.result?.errors),
  apollo4: apollo(apollo4, (options) => new PersistedQueryLink(options), (error) => error.errors),
  urql,
  "graphql-request": graphqlRequest,
  relay: relayRuntime,
};

async function ask(make, url, text, options, times = 1) {
  sent = [];
  const run = await make(url, text, options);
  const given = [];
  for (let time = 0; time < times; time += 1) given.push(await run());
  return { given, sent, connections };
}

const report = {};
for (const [name, make] of Object.entries(CLIENTS)) {
  report[name] = {
    plain: await ask(make, automatic, query, {}, 2),
    wrong: await ask(make, automatic, wrong),
  };
}
report.connections = connections;
report.urql.get = await ask(urql, automatic, query, { get: true });
for (const name of ["apollo3", "apollo4", "urql"]) {
  // A document of this client alone.
  const own = query.replace("Clinic", `Clinic_${name}`);
  report[name].hashed = await ask(CLIENTS[name], automatic, own, { hashed: true, get: true }, 2);
  report[name].unsupported = await ask(CLIENTS[name], off, own, { hashed: true }, 2);
}
report.relay.trusted = await ask(relayRuntime, trusted, query, { trustedId: documentId });
process.stdout.write(JSON.stringify(report), () => process.exit());
