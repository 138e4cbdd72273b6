// Asks the gateway in the first argument through both caches, and prints what they warned of and which entities they
// hold. Standard input is JSON: `schema` is the path of the SDL, `steps` are queries to be sent one after the other,
// each with a `query`, its `variables`, whether it is a `refetch` of what was asked before, and `before`, which is
// posted to a URL first; `typePolicies` are Apollo's.
import { readFileSync } from "node:fs";
import { format } from "node:util";
import { ApolloClient, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { Client, fetchExchange } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { buildSchema, introspectionFromSchema, isInterfaceType } from "graphql";

const uri = process.argv[2];
const { schema: path, steps, typePolicies } = JSON.parse(readFileSync(0, "utf8"));
const schema = buildSchema(readFileSync(path, "utf8"));

let warnings = [];
for (const level of ["warn", "error", "info", "log"]) {
  console[level] = (...words) => warnings.push(format(...words));
}

async function prepare({ before }) {
  if (before) await fetch(before.url, { method: "POST", body: JSON.stringify(before.body ?? {}) });
}

async function apollo() {
  const interfaces = Object.values(schema.getTypeMap()).filter(isInterfaceType);
  const possibleTypes = Object.fromEntries(
    interfaces.map((each) => [each.name, schema.getPossibleTypes(each).map(({ name }) => name)]),
  );
  const cache = new InMemoryCache({ possibleTypes, typePolicies });
  const client = new ApolloClient({ cache, link: new HttpLink({ uri }), devtools: { enabled: false } });
  const answers = [];
  for (const { query, variables, refetch, ...step } of steps) {
    await prepare(step);
    const asked = { query: gql(query), variables };
    if (refetch) {
      const watched = client.watchQuery({ ...asked, fetchPolicy: "cache-first" });
      const subscription = watched.subscribe(() => {});
      answers.push((await watched.refetch()).data);
      subscription.unsubscribe();
    } else {
      answers.push((await client.query({ ...asked, fetchPolicy: "network-only" })).data);
    }
  }
  return { answers, entities: Object.keys(cache.extract()) };
}

async function urql() {
  const entities = new Set();
  const storage = {
    readData: async () => ({}),
    writeData: async (delta) => Object.keys(delta).forEach((key) => entities.add(key.split(".")[0])),
  };
  const cache = cacheExchange({ schema: introspectionFromSchema(schema), storage });
  const client = new Client({ url: uri, preferGetMethod: false, exchanges: [cache, fetchExchange] });
  const answers = [];
  for (const { query, variables, ...step } of steps) {
    await prepare(step);
    const { data, error } = await client.query(query, variables, { requestPolicy: "network-only" }).toPromise();
    if (error) throw error;
    answers.push(data);
  }
  // The cache writes to its storage when it has nothing else to do.
  await new Promise((resolve) => setTimeout(resolve, 50));
  return { answers, entities: [...entities] };
}

const report = {};
for (const [name, run] of Object.entries({ apollo, urql })) {
  warnings = [];
  report[name] = { ...(await run()), warnings };
}
process.stdout.write(JSON.stringify(report));
