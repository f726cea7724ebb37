/** Every file and heading that the documentation links to inside this repository exists. */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { anchorsOf, linksOf, read, root } from "./Markdown.ts"

const documents = [
  "README.md",
  "CHANGELOG.md",
  ...Fs.readdirSync(Path.join(root, "docs")).map((name) => `docs/${name}`)
]
  .filter((name) => name.endsWith(".md"))

describe("links", () => {
  it("are checked in every document", () => {
    assert.includeMembers(documents, ["README.md", "docs/architecture.md", "docs/testing.md"])
  })

  for (const document of documents) {
    it(`of ${document} lead to files and headings that exist`, () => {
      const links = linksOf(read(document))
      assert.isNotEmpty(links)
      for (const { target } of links.filter(({ target }) => !/^https?:/.test(target))) {
        const [file, anchor] = target.split("#")
        const path = file === "" ? document : Path.join(Path.dirname(document), file!)
        assert.isTrue(Fs.existsSync(Path.join(root, path)), `${document} links to ${target}`)
        if (anchor !== undefined) assert.include(anchorsOf(read(path)), anchor, `${document} links to ${target}`)
      }
    })
  }
})
