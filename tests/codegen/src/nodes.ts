import type { Execute } from "./execute";
import { graphql } from "./gql";

const NodeById = graphql(`
  query NodeById($id: ID!) {
    node(id: $id) {
      __typename
      id
      ... on CareUnit {
        name
      }
      ... on Resource {
        name
        careUnit {
          name
        }
      }
      ... on HealthcareService {
        name
        careUnit {
          name
        }
      }
    }
  }
`);

const NodesById = graphql(`
  query NodesById($ids: [ID!]!) {
    nodes(ids: $ids) {
      __typename
      id
    }
  }
`);

/** The compiler knows from `__typename` which fields a node has. */
export async function title(execute: Execute, id: string): Promise<string | null> {
  const { node } = await execute(NodeById, { id });
  switch (node?.__typename) {
    case "CareUnit":
      return node.name;
    case "Resource":
    case "HealthcareService":
      return `${node.name}, ${node.careUnit.name}`;
    default:
      return null;
  }
}

export async function missing(execute: Execute, ids: string[]): Promise<number> {
  const { nodes } = await execute(NodesById, { ids });
  return nodes.filter((node) => node === null).length;
}
