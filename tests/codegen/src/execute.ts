import type { TypedDocumentNode } from "@graphql-typed-document-node/core";

/** What any GraphQL client does with a generated document: it answers in the document's own types. */
export type Execute = <Data, Variables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
) => Promise<Data>;
