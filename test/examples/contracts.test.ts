/**
 * The contracts of the examples import nothing of the implementation, so clients can use them.
 */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"

const examples = resolve(import.meta.dirname, "../../examples")

const importsOf = (file: string): ReadonlyArray<string> =>
  Array.from(readFileSync(file, "utf8").matchAll(/\b(?:from|import)\s*\(?\s*"([^"]+)"/g), ([, name = ""]) => name)

describe.each(["users/contract", "fulfilment/contract", "http/contract"])("%s", (folder) => {
  const files = readdirSync(join(examples, folder)).filter((name) => name.endsWith(".ts"))
  it("contains files", () => assert.isNotEmpty(files))
  it.each(files)("%s", (name) => {
    const file = join(examples, folder, name)
    for (const imported of importsOf(file)) {
      const to = imported.startsWith(".") ? relative(examples, resolve(dirname(file), imported)) : imported
      assert.match(
        to,
        folder === "http/contract"
          ? /^(evsrc(\/http)?|effect\/.+|(users|fulfilment|http)\/contract\/\w+\.ts)$/
          : new RegExp(String.raw`^(evsrc|effect\/.+|${folder}\/\w+\.ts)$`)
      )
    }
  })
})

it("the domain imports nothing of HTTP", () => {
  for (const folder of ["users", "users/contract", "fulfilment", "fulfilment/contract"]) {
    for (const name of readdirSync(join(examples, folder)).filter((name) => name.endsWith(".ts"))) {
      for (const imported of importsOf(join(examples, folder, name))) {
        assert.notMatch(imported, /http|platform-node|^evsrc\/pg/, `${folder}/${name}`)
      }
    }
  }
})
