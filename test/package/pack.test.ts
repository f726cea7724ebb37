/**
 * The published package, from a project that installs it: nothing here resolves to the repository's sources.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")
const installed = (name: string) => join(root, "node_modules", name)
const bin = (name: string) => join(root, "node_modules/.bin", name)

const entries = {
  "evsrc": "index",
  "evsrc/pg": "pg/index",
  "evsrc/pglite": "pglite/index",
  "evsrc/testing": "testing/index",
  "evsrc/conformance": "conformance/index"
}

/** The environment without the settings of npm and vitest, which would reach the child process. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS$|NODE_ENV$|VITEST)/i.test(name))
)

interface Outcome {
  readonly code: number
  readonly output: string
}

const run = (cwd: string, command: string, ...args: ReadonlyArray<string>) =>
  new Promise<Outcome>((done) => {
    const child = execFile(command, args, { cwd, env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      done({ code: child.exitCode ?? -1, output: `${error?.message ?? ""}\n${stdout}${stderr}` }))
  })

const succeed = async (cwd: string, command: string, ...args: ReadonlyArray<string>) => {
  const { code, output } = await run(cwd, command, ...args)
  assert.strictEqual(code, 0, `${command} ${args.join(" ")}: ${output}`)
  return output
}

let temp: string
let tarball: string
let contents: ReadonlyArray<string>

/**
 * Creates a project in which npm has installed the tarball and the given packages. These are links to the repository's
 * `node_modules`, so that npm needs no network and still compares them with the peer dependencies of evsrc.
 */
const project = async (name: string, ...packages: ReadonlyArray<string>) => {
  const directory = join(temp, name)
  await mkdir(directory)
  await writeFile(join(directory, "package.json"), JSON.stringify({ name, private: true, type: "module" }))
  const cache = join(temp, "cache")
  await succeed(directory, "npm", "install", "--offline", "--cache", cache, tarball, ...packages.map(installed))
  return directory
}

const typeCheck = async (directory: string, files: Readonly<Record<string, string>>) => {
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text)
  const tsconfig = {
    compilerOptions: {
      module: "nodenext",
      target: "es2024",
      lib: ["es2024", "dom"],
      types: ["node"],
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true
    },
    files: Object.keys(files)
  }
  await writeFile(join(directory, "tsconfig.json"), JSON.stringify(tsconfig))
  const { output } = await run(directory, bin("tsc"), "--pretty", "false")
  return output.split("\n").filter((line) => line.includes("error TS"))
}

/** Returns a module that compiles only if the entry point has types with its exported names. */
const consumer = (specifier: string) =>
  `import * as entry from "${specifier}"
export const names: ReadonlyArray<keyof typeof entry> = []
// @ts-expect-error there is no such export
export const missing = entry.thereIsNoSuchExport
`

beforeAll(async () => {
  temp = await realpath(await mkdtemp(join(tmpdir(), "evsrc-pack-")))
  await succeed(root, "npm", "pack", "--pack-destination", temp)
  tarball = join(temp, (await readdir(temp)).find((name) => name.endsWith(".tgz"))!)
  contents = (await succeed(temp, "tar", "-tzf", tarball)).split("\n").filter((line) => line.startsWith("package/"))
    .map((line) => line.slice("package/".length)).toSorted()
})

afterAll(() => rm(temp, { recursive: true, force: true }))

describe("the tarball", () => {
  const under = async (directory: string, extension: string) =>
    (await readdir(join(root, directory), { recursive: true }))
      .filter((name) => name.endsWith(extension)).map((name) => `${directory}/${name}`).toSorted()

  it("contains the sources, their build, the migrations, and nothing else", async () => {
    const sources = await under("src", ".ts")
    const migrations = await under("migrations", ".sql")
    assert.isNotEmpty(migrations)
    const built = sources.flatMap((name) =>
      [".js", ".js.map", ".d.ts", ".d.ts.map"].map((to) => name.replace(/^src/, "dist").replace(/\.ts$/, to))
    )
    assert.deepStrictEqual(
      contents,
      [...sources, ...built, ...migrations, "LICENSE", "README.md", "package.json"].toSorted()
    )
  })

  it("satisfies publint", async () => {
    await succeed(temp, bin("publint"), "--strict", tarball)
  })
})

describe("a project with effect alone", () => {
  let directory: string
  beforeAll(async () => {
    directory = await project("core", "effect", "@types/node")
  })

  const load = (specifier: string) =>
    run(directory, "node", "--input-type=module", "--eval", `await import("${specifier}")`)

  it("loads the core and the testing tools", async () => {
    for (const specifier of ["evsrc", "evsrc/testing", "evsrc/conformance"]) {
      const { code, output } = await load(specifier)
      assert.strictEqual(code, 0, output)
    }
  })

  it("fails to load the other entry points with the name of the missing package", async () => {
    assert.include((await load("evsrc/pg")).output, "Cannot find package '@effect/sql-pg'")
    assert.match((await load("evsrc/pglite")).output, /Cannot find package '(@electric-sql\/pglite|@effect\/sql-pg)'/)
  })

  it("type-checks, the declarations of evsrc and effect included", async () => {
    assert.deepStrictEqual(
      await typeCheck(directory, { "core.ts": consumer("evsrc"), "testing.ts": consumer("evsrc/testing") }),
      []
    )
  })

  it("rejects an effect version that is too old", async () => {
    const old = join(temp, "old-effect")
    await mkdir(old)
    await writeFile(join(old, "package.json"), JSON.stringify({ name: "effect", version: "4.0.5" }))
    await mkdir(join(temp, "old"))
    await writeFile(join(temp, "old/package.json"), JSON.stringify({ name: "old", private: true }))
    const { code, output } = await run(join(temp, "old"), "npm", "install", "--offline", tarball, old)
    assert.notStrictEqual(code, 0)
    assert.include(output, `peer effect@"^4.1.0" from evsrc`)
  })
})

describe("a project with all peers", () => {
  let directory: string
  beforeAll(async () => {
    directory = await project("full", "effect", "@effect/sql-pg", "@electric-sql/pglite", "@types/node")
  })

  for (const [specifier, path] of Object.entries(entries)) {
    it(`${specifier} loads from dist and exports what the sources export`, async () => {
      await writeFile(
        join(directory, "load.js"),
        `const entry = await import("${specifier}")
        console.log(JSON.stringify({ url: import.meta.resolve("${specifier}"), names: Object.keys(entry) }))`
      )
      const output = await succeed(directory, "node", "load.js")
      const { names, url } = JSON.parse(output) as { readonly url: string; readonly names: ReadonlyArray<string> }
      assert.include(url, `/full/node_modules/evsrc/dist/${path}.js`)
      assert.isNotEmpty(names)
      const source = await import(join(root, "src", `${path}.ts`)) as object
      assert.deepStrictEqual(names, Object.keys(source).toSorted())
    })
  }

  it("type-checks, the declarations of evsrc included", async () => {
    const files = Object.keys(entries).map((specifier, i) => [`entry${i}.ts`, consumer(specifier)])
    const errors = await typeCheck(directory, Object.fromEntries(files))
    // PGlite's own declarations use globals of Emscripten that they do not declare.
    assert.deepStrictEqual(errors.filter((line) => !/^\S*node_modules\/@electric-sql\/pglite\/dist/.test(line)), [])
  })
})
