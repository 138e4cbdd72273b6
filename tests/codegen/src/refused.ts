import type { Execute } from "./execute";
import { graphql } from "./gql";

const Named = graphql(`
  query Named($id: ID!) {
    careUnit(id: $id) {
      name
    }
  }
`);

/** Types that allowed everything would compile too, so these lines must not. */
export async function refused(execute: Execute): Promise<void> {
  // @ts-expect-error `id` is required
  await execute(Named, {});

  const { careUnit } = await execute(Named, { id: "1" });
  // @ts-expect-error a clinic that could not be asked is null
  careUnit.name.trim();
  // @ts-expect-error the query did not ask for it
  careUnit?.leyrId;
}
