/**
 * The published package, from a project that installs it: nothing here resolves to the repository's sources.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { basename, dirname, join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"
import { build } from "vite"
import { freshDatabase } from "../support/Database.ts"

const root = resolve(import.meta.dirname, "../..")
const installed = (name: string) => join(root, "node_modules", name)
const bin = (name: string) => join(root, "node_modules/.bin", name)

const entries = {
  "evsrc": "index",
  "evsrc/domain": "domain/index",
  "evsrc/http": "http/index",
  "evsrc/promise": "promise/index",
  "evsrc/pg": "pg/index",
  "evsrc/pglite": "pglite/index",
  "evsrc/testing": "testing/index",
  "evsrc/conformance": "conformance/index",
  "evsrc/cli": "cli/index"
}

/** The environment without the settings of npm and vitest, which would reach the child process. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS$|NODE_ENV$|VITEST)/i.test(name))
)

interface Outcome {
  readonly code: number
  readonly output: string
}

const run = (cwd: string, command: string, ...args: ReadonlyArray<string>) => runWith({}, cwd, command, ...args)

const runWith = (added: NodeJS.ProcessEnv, cwd: string, command: string, ...args: ReadonlyArray<string>) =>
  new Promise<Outcome>((done) => {
    const child = execFile(
      command,
      args,
      { cwd, env: { ...env, ...added }, maxBuffer: 2 ** 26 },
      (error, stdout, stderr) =>
        done({ code: child.exitCode ?? -1, output: `${error?.message ?? ""}\n${stdout}${stderr}` })
    )
  })

const succeed = async (cwd: string, command: string, ...args: ReadonlyArray<string>) => {
  const { code, output } = await run(cwd, command, ...args)
  assert.strictEqual(code, 0, `${command} ${args.join(" ")}: ${output}`)
  return output
}

let temp: string
let tarball: string
let contents: ReadonlyArray<string>
/** A project with effect alone. */
let core: string
/** A project with all peers. */
let full: string

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

/** Returns the errors of the files, by their paths in `temp`. Each resolves packages from its own project. */
const typeCheck = async (files: Readonly<Record<string, string>>) => {
  for (const [name, text] of Object.entries(files)) await writeFile(join(temp, name), text)
  const tsconfig = {
    compilerOptions: {
      module: "nodenext",
      target: "es2024",
      lib: ["es2024", "dom"],
      typeRoots: [join(core, "node_modules/@types")],
      types: ["node"],
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true
    },
    files: Object.keys(files)
  }
  await writeFile(join(temp, "tsconfig.json"), JSON.stringify(tsconfig))
  const { output } = await run(temp, bin("tsc"), "--pretty", "false")
  return output.split("\n").filter((line) => line.includes("error TS"))
}

/** Returns a module that compiles only if the entry point has types with its exported names. */
const consumer = (specifier: string) =>
  `import * as entry from "${specifier}"
export const names: ReadonlyArray<keyof typeof entry> = []
// @ts-expect-error there is no such export
export const missing = entry.thereIsNoSuchExport
`

/** Returns whether `dist` is a build of the sources as they are. `npm test` makes it before it runs the tests. */
const isBuilt = async (): Promise<boolean> => {
  const timeOf = (path: string) => stat(path).then(({ mtimeMs }) => mtimeMs, () => 0)
  const sources = await Promise.all(
    ["src", "migrations"].map(async (folder) =>
      (await readdir(join(root, folder), { recursive: true })).map((name) => join(root, folder, name))
    )
  )
  const settings = ["package.json", "tsconfig.json", "tsconfig.build.json", ".ci/build.ts"].map((name) =>
    join(root, name)
  )
  const times = await Promise.all([...sources.flat(), ...settings].map(timeOf))
  return Math.max(...times) < await timeOf(join(root, "dist/pg/migrations/MigrationTexts.js"))
}

beforeAll(async () => {
  temp = await realpath(await mkdtemp(join(tmpdir(), "evsrc-pack-")))
  const scripts = await isBuilt() ? ["--ignore-scripts"] : []
  await succeed(root, "npm", "pack", ...scripts, "--pack-destination", temp)
  tarball = join(temp, (await readdir(temp)).find((name) => name.endsWith(".tgz"))!)
  contents = (await succeed(temp, "tar", "-tzf", tarball)).split("\n").filter((line) => line.startsWith("package/"))
    .map((line) => line.slice("package/".length)).toSorted()
  core = await project("core", "effect", "@types/node")
  full = await project(
    "full",
    "effect",
    "@effect/platform-node",
    "@effect/sql-pg",
    "@electric-sql/pglite",
    "@types/node"
  )
})

afterAll(() => rm(temp, { recursive: true, force: true }))

describe("the tarball", () => {
  const under = async (directory: string, extension: string) =>
    (await readdir(join(root, directory), { recursive: true }))
      .filter((name) => name.endsWith(extension)).map((name) => `${directory}/${name}`).toSorted()

  it("contains the sources, their build, the migrations, the guides, and nothing else", async () => {
    const sources = await under("src", ".ts")
    const migrations = await under("migrations", ".sql")
    const guides = (await readdir(join(root, "docs"))).filter((name) => /\.(json|md|svg|yml)$/.test(name))
      .map((name) => `docs/${name}`)
    for (const expected of [migrations, guides]) assert.isNotEmpty(expected)
    const built = sources.flatMap((name) =>
      [".js", ".d.ts", ".d.ts.map"].map((to) => name.replace(/^src/, "dist").replace(/\.ts$/, to))
    )
    assert.deepStrictEqual(
      contents,
      [...sources, ...built, ...migrations, ...guides, "CHANGELOG.md", "LICENSE", "README.md", "package.json"]
        .toSorted()
    )
  })

  it("has less than 2.1 megabytes, and suites of less than a sixth of it", async () => {
    assert.isBelow((await stat(tarball)).size, 2_100_000)
    const unpacked = join(temp, "unpacked")
    await mkdir(unpacked)
    await succeed(temp, "tar", "-xzf", tarball, "-C", unpacked)
    const sizeOf = async (names: ReadonlyArray<string>) =>
      (await Promise.all(names.map((name) => stat(join(unpacked, "package", name))))).reduce(
        (sum, { size }) => sum + size,
        0
      )
    const all = await sizeOf(contents)
    const suites = await sizeOf(contents.filter((name) => name.includes("/conformance/")))
    assert.isBelow(suites, all / 6)
    assert.isBelow(all, 9_000_000)
  })

  it("contains the texts of the migrations as they are in the files", async () => {
    const texts: unknown = await import(pathToFileURL(join(root, "dist/pg/migrations/MigrationTexts.js")).href)
    const read = Reflect.get(Object(texts), "read") as (file: string) => Promise<string>
    for (const file of await under("migrations", ".sql")) {
      assert.strictEqual(await read(file.slice("migrations/".length)), await readFile(join(root, file), "utf8"), file)
    }
    assert.include(await read("none.sql").then(() => "", String), "there is no migration none.sql")
  })

  it("is built before it is packed", async () => {
    const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
      readonly scripts: Readonly<Record<string, string>>
    }
    assert.strictEqual(scripts["prepack"], "npm run -s build")
  })

  it("satisfies publint", async () => {
    await succeed(temp, bin("publint"), "--strict", tarball)
  })
})

describe("a project with effect alone", () => {
  const load = (specifier: string) => run(core, "node", "--input-type=module", "--eval", `await import("${specifier}")`)

  it("loads the core and the testing tools", async () => {
    for (
      const specifier of ["evsrc", "evsrc/domain", "evsrc/http", "evsrc/promise", "evsrc/testing", "evsrc/conformance"]
    ) {
      const { code, output } = await load(specifier)
      assert.strictEqual(code, 0, output)
    }
  })

  it("fails to load the other entry points with the name of the missing package", async () => {
    assert.include((await load("evsrc/pg")).output, "Cannot find package '@effect/sql-pg'")
    assert.match((await load("evsrc/pglite")).output, /Cannot find package '(@electric-sql\/pglite|@effect\/sql-pg)'/)
  })

  it("says which package the program evsrc needs", async () => {
    const { code, output } = await run(core, join(core, "node_modules/.bin/evsrc"), "status")
    assert.strictEqual(code, 2)
    assert.match(output, /The package @effect\/(platform-node|sql-pg) is not installed, which the command line needs/)
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

// One check of both, because half of its time goes to the declarations of effect.
it("projects with effect alone and with all peers type-check, all declarations included", async () => {
  const files = (directory: string, specifiers: ReadonlyArray<string>) =>
    specifiers.map((specifier, i) => [`${basename(directory)}/entry${i}.ts`, consumer(specifier)])
  const errors = await typeCheck(Object.fromEntries([
    ...files(core, ["evsrc", "evsrc/domain", "evsrc/http", "evsrc/promise", "evsrc/testing"]),
    ...files(full, Object.keys(entries))
  ]))
  // PGlite's own declarations use globals of Emscripten that they do not declare.
  assert.deepStrictEqual(errors.filter((line) => !/^\S*node_modules\/@electric-sql\/pglite\/dist/.test(line)), [])
})

describe("a project with all peers", () => {
  it("each entry point loads from dist and exports what the sources export", async () => {
    await writeFile(
      join(full, "load.js"),
      `for (const specifier of ${JSON.stringify(Object.keys(entries))}) {
        const names = Object.keys(await import(specifier))
        console.log(JSON.stringify({ url: import.meta.resolve(specifier), names }))
      }`
    )
    const lines = (await succeed(full, "node", "load.js")).trim().split("\n")
    assert.lengthOf(lines, Object.keys(entries).length)
    for (const [index, path] of Object.values(entries).entries()) {
      const { names, url } = JSON.parse(lines[index]!) as {
        readonly url: string
        readonly names: ReadonlyArray<string>
      }
      assert.include(url, `/full/node_modules/evsrc/dist/${path}.js`)
      assert.isNotEmpty(names)
      const source = await import(join(root, "src", `${path}.ts`)) as object
      assert.deepStrictEqual(names, Object.keys(source).toSorted(), path)
    }
  })

  it("has the program evsrc, as npm has installed it", async () => {
    const evsrc = join(full, "node_modules/.bin/evsrc")
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { readonly version: string }
    assert.strictEqual((await succeed(full, evsrc, "--version")).trim(), `evsrc v${version}`)
    assert.include(await succeed(full, evsrc, "migrate", "--sql", "--schema", "shop"), "create schema")
  })

  it("has a project that evsrc init writes, whose check, test, program and status succeed", async () => {
    const cache = join(temp, "cache")
    await succeed(temp, join(full, "node_modules/.bin/evsrc"), "init", "todo")
    const todo = join(temp, "todo")
    const names = [
      "effect",
      "@effect/platform-node",
      "@effect/sql-pg",
      "@electric-sql/pglite",
      "@types/node",
      "typescript"
    ]
    // The copy that runs `init` was installed from the tarball, so the project takes evsrc from there too.
    await succeed(todo, "npm", "install", "--offline", "--cache", cache, ...names.map(installed))
    await succeed(todo, "npm", "run", "check")
    assert.match(await succeed(todo, "npm", "test"), /pass 2/)
    assert.include(await succeed(todo, "npm", "start"), "read the guides: done")
    // Red, with the exit code 1, once the program has ended for a while.
    const status = await run(todo, "npm", "run", "status")
    assert.match(status.output, /log {2}last event 2, high-water mark 2\n\w+ +todos@1/)
    const { code, output } = await run(temp, join(full, "node_modules/.bin/evsrc"), "init", "todo")
    assert.strictEqual(code, 2)
    assert.include(output, "already, and nothing was written")
  })

  it("creates test databases on PGlite, and keeps an empty one for later runs", async () => {
    await writeFile(
      join(full, "pglite.js"),
      `
      import { Effect, Layer } from "effect"
      import { EventStore } from "evsrc"
      import { PgStores } from "evsrc/pg"
      import { TestDatabase } from "evsrc/testing"
      const head = Effect.flatMap(EventStore.EventStore, (store) => store.head)
      const onFresh = () => Effect.provide(head, PgStores.layer.pipe(Layer.provide(TestDatabase.layerPglite())))
      console.log(await Effect.runPromise(Effect.all([onFresh(), onFresh()])))
    `
    )
    assert.include(await succeed(full, "node", "pglite.js"), "[ 0n, 0n ]")
    const kept = await readdir(join(full, "node_modules/.cache/evsrc"))
    assert.lengthOf(kept.filter((name) => /^pglite-[\d.]+\.tar$/.test(name)), 1)
  })

  /** Runs on the database of DATABASE_URL, which it migrates. */
  const program = `
    import { PgClient } from "@effect/sql-pg"
    import { Config, Effect, Schema } from "effect"
    import { EventStore } from "evsrc"
    import { PgStores } from "evsrc/pg"

    const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
    const program = Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { version } = yield* store.append(Tick, "s", [Tick.cases.Ticked.make({ n: 1 })])
      console.log("version " + version)
    })
    const url = Config.Redacted("DATABASE_URL")
    await Effect.runPromise(program.pipe(Effect.provide(PgStores.layer), Effect.provide(PgClient.layerConfig({ url }))))
  `

  const bundlers: Readonly<Record<string, (entry: string, file: string) => Promise<unknown>>> = {
    rolldown: async (input, file) => {
      const bundle = await rolldown({ input, platform: "node" })
      await bundle.write({ file, format: "esm", codeSplitting: false })
      await bundle.close()
    },
    "vite SSR": (entry, file) =>
      build({
        root: full,
        configFile: false,
        logLevel: "error",
        ssr: { noExternal: true },
        build: {
          ssr: entry,
          outDir: dirname(file),
          rolldownOptions: { output: { entryFileNames: basename(file), codeSplitting: false } }
        }
      })
  }

  it.live.each(Object.entries(bundlers))(
    "%s bundles a program into one file, which migrates a database",
    ([name, write]) =>
      Effect.gen(function*() {
        const entry = join(full, "program.js")
        const folder = join(temp, name.replace(" ", "-"))
        const file = join(folder, "bundle.mjs")
        yield* Effect.promise(async () => {
          await writeFile(entry, program)
          await write(entry, file)
        })
        assert.deepStrictEqual(yield* Effect.promise(() => readdir(folder)), ["bundle.mjs"])
        const { url } = yield* freshDatabase
        const { code, output } = yield* Effect.promise(() => runWith({ DATABASE_URL: url }, folder, "node", file))
        assert.strictEqual(code, 0, output)
        assert.strictEqual(output.trim(), "version 1")
      })
  )
})

describe("a bundle of definitions for a browser", () => {
  /** A domain as both sides of a program share it. */
  const domain = `
    import { Result, Schema } from "effect"
    import { Aggregate, Command, Decider, Event, Projection, Query } from "evsrc/domain"

    const account = Schema.NonEmptyString
    const AccountEvent = Schema.TaggedUnion({ Deposited: { account, amount: Schema.Int } })
    const Deposit = Command.make("Deposit", { payload: { account, amount: Schema.Int } })
    const Account = Aggregate.make("Account", {
      id: "account", state: Schema.Int, events: AccountEvent, commands: [Deposit]
    }).decider({
      initial: 0,
      evolve: { Deposited: (balance, event) => balance + event.amount },
      decide: { Deposit: (_, command) => [AccountEvent.cases.Deposited.make(command)] }
    })
    const decision = Decider.decide(Account, 0, "Deposit", { account: "ann", amount: 3 })
    console.log(Decider.fold(Account, Result.getOrThrow(decision)))
  `

  it("contains no store, no runtime and nothing of Node", async () => {
    const entry = join(core, "domain.js")
    await writeFile(entry, domain)
    const bundle = await rolldown({
      input: entry,
      platform: "browser",
      // As a bundler that keeps each module which is imported, and does not look for unused exports.
      treeshake: { moduleSideEffects: (id) => id.includes("/evsrc/dist/") }
    })
    const { output: [chunk, ...others] } = await bundle.generate({ format: "esm", minify: true })
    await bundle.close()
    assert.lengthOf(others, 0)
    const ours = Object.entries(chunk.modules)
      .filter(([id]) => id.includes("/evsrc/dist/"))
      .map(([id, { renderedLength }]) => [id.split("/evsrc/dist/")[1]!, renderedLength] as const)
    const size = ours.reduce((sum, [, length]) => sum + length, 0)
    console.log(
      `evsrc/domain in a browser: ${Math.round(chunk.code.length / 1000)} kB minified, ${
        Math.round(gzipSync(chunk.code).length / 1000)
      } kB compressed; of evsrc ${Math.round(size / 1000)} kB before it is minified`
    )
    const folders = new Set(ours.map(([file]) => file.split("/")[0]))
    for (const folder of ["eventStore", "pg", "pglite", "operations", "timeTravel", "transfer", "subscription"]) {
      assert.notInclude([...folders], folder)
    }
    const services = /Layer|Handler|Worker|Store\.js|Driver|Bus|Projector|Execution|Cipher/
    assert.deepStrictEqual(ours.filter(([file]) => services.test(file)), [])
    assert.isBelow(chunk.code.length, 300_000)
    assert.isBelow(size, 105_000)
    const file = join(core, "browser.mjs")
    await writeFile(file, chunk.code)
    assert.strictEqual((await succeed(core, "node", file)).trim(), "3")
  })
})

describe("a bundle of an HTTP client for a browser", () => {
  const client = `
    import { Schema } from "effect"
    import { HttpApi, HttpApiClient, HttpApiGroup } from "effect/http-api"
    import { Command } from "evsrc/domain"
    import { HttpCommand } from "evsrc/http"

    const PayOrder = Command.make("PayOrder", { payload: { orderId: Schema.String, amount: Schema.Int } })
    const Api = HttpApi.make("shop").add(
      HttpApiGroup.make("orders").add(HttpCommand.endpoint(PayOrder, { path: "/orders/:orderId/payment" }))
    )
    globalThis.client = HttpApiClient.make(Api)
    console.log(Api.groups.orders.endpoints.payOrder.path)
  `

  it("contains no store, no bus and nothing of Node", async () => {
    const entry = join(core, "client.js")
    await writeFile(entry, client)
    const bundle = await rolldown({ input: entry, platform: "browser" })
    const { output: [chunk, ...others] } = await bundle.generate({ format: "esm", minify: true })
    await bundle.close()
    assert.lengthOf(others, 0)
    const ours = Object.entries(chunk.modules)
      .filter(([id, { renderedLength }]) => id.includes("/evsrc/dist/") && renderedLength > 0)
      .map(([id]) => id.split("/evsrc/dist/")[1]!)
    const services = /^(eventStore|projection|consumer|aggregate|pg|pglite|operations)\/|Handlers|Bus|Layer/
    assert.deepStrictEqual(ours.filter((file) => services.test(file)), [])
    const file = join(core, "client.mjs")
    await writeFile(file, chunk.code)
    assert.strictEqual((await succeed(core, "node", file)).trim(), "/orders/:orderId/payment")
  })
})
