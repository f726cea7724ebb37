/** docs/project.md agrees with the order of the folders that the linter enforces, and with the folders that exist. */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { read, root, section, tableOf } from "./Markdown.ts"

const guide = section(read("docs/project.md"), "## src")
const core = tableOf(guide)
const adapters = tableOf(guide.slice(guide.indexOf("These folders may import"), guide.indexOf("Folders within them")))
const parts = tableOf(guide.slice(guide.indexOf("Folders within them")))
const folders = (table: ReadonlyArray<ReadonlyArray<string>>) => table.map(([folder]) => folder!)

describe("docs/project.md", () => {
  it("lists the folders of the core in the order of the lint rule", () => {
    const [, order] = /const order = \[([^]*?)\] as const/.exec(read("oxlint.plugin.ts"))!
    assert.deepStrictEqual(folders(core), Array.from(order!.matchAll(/"(\w+)"/g), ([, folder]) => folder!))
  })

  it("lists every folder of src", () => {
    const existing = Fs.readdirSync(Path.join(root, "src"), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && Fs.readdirSync(Path.join(entry.parentPath, entry.name)).length > 0)
      .map(({ name }) => name)
    assert.sameMembers([...folders(core), ...folders(adapters)], existing)
  })

  it("lists every folder within a folder of src", () => {
    const existing = Fs.readdirSync(Path.join(root, "src"), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isDirectory() && Fs.readdirSync(Path.join(entry.parentPath, entry.name)).length > 0)
      .map(({ name, parentPath }) => Path.relative(Path.join(root, "src"), Path.join(parentPath, name)))
      .map((folder) => folder.split(Path.sep).join("/")).filter((folder) => folder.includes("/"))
    assert.sameMembers(folders(parts), existing)
  })

  it("names an entry file that exists for each folder", () => {
    for (const [folder, , entry] of core) {
      assert.isTrue(Fs.existsSync(Path.join(root, "src", folder!, entry!)), `src/${folder}/${entry}`)
    }
  })
})
