/**
 * `npm run test:matrix`: runs smoke.ts in each environment of the README's table, as far as npm and this machine have it. What is missing
 * is named as skipped. The environments are in environments/package.json.
 */
import { Effect } from "effect"
import { execFile, execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Pgbouncer from "../support/Pgbouncer.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import { bundlers } from "./bundlers.ts"
import { runStatements } from "./sql.ts"

const root = Path.resolve(import.meta.dirname, "../..")
const environments = Path.join(import.meta.dirname, "environments")
const require = createRequire(Path.join(environments, "package.json"))
const folderOf = (name: string): string => Path.join(environments, "node_modules", name)
const smoke = Path.join(import.meta.dirname, "smoke.ts")

class Skipped extends Error {}

const existing = (file: string, what: string): string => {
  if (!Fs.existsSync(file)) throw new Skipped(`npm has no ${what} for this machine`)
  return file
}

const run = (command: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}, cwd = root) =>
  new Promise<string>((resolve, reject) => {
    const { DATABASE_URL: _, NODE_OPTIONS: __, ...inherited } = process.env
    execFile(
      command,
      args,
      { cwd, env: { ...inherited, ...env }, timeout: 120_000 },
      (error, stdout) =>
        error === null ? resolve(stdout.trim()) : reject(new Error(`${error.message}\n${stdout}`.slice(0, 2000)))
    )
  })

let failures = 0
const row = async (name: string, test: () => Promise<string>): Promise<void> => {
  const started = performance.now()
  const outcome = await test().then(
    (result) => `passed  ${result}`,
    (error: unknown) => {
      if (error instanceof Skipped) return `skipped ${error.message}`
      failures++
      return `FAILED  ${error instanceof Error ? error.message : String(error)}`
    }
  )
  console.log(`${name.padEnd(34)} ${outcome} (${Math.round((performance.now() - started) / 100) / 10} s)`)
}

let databases = 0
/** Creates a database with options of CREATE DATABASE, and settings, and returns its URL. */
const database = async (server: string, options = "", settings: ReadonlyArray<string> = []): Promise<string> => {
  const name = `matrix_${++databases}`

  await runStatements(server, [
    `CREATE DATABASE ${name} TEMPLATE template0 ${options}`,
    ...settings.map((setting) => `ALTER DATABASE ${name} SET ${setting}`)
  ])
  return Object.assign(new URL(server), { pathname: `/${name}` }).href
}

const onNode = async (url: string | undefined, env: NodeJS.ProcessEnv = {}) =>
  run(process.execPath, [smoke], { ...env, ...url === undefined ? {} : { DATABASE_URL: url } })

const runtimes = async (server: string) => {
  for (const version of ["22.19", "24.21", "26.10"]) {
    await row(
      `Node ${version}`,
      async () =>
        run(existing(Path.join(folderOf(`node-${version}`), "bin/node"), `Node ${version}`), [smoke], {
          DATABASE_URL: await database(server)
        })
    )
  }
  const program = (name: string, ...files: ReadonlyArray<string>): string => {
    const { optionalDependencies } = require(`${name}/package.json`) as { readonly optionalDependencies: object }
    const found = [name, ...Object.keys(optionalDependencies)]
      .flatMap((name) => files.map((file) => Path.join(folderOf(name), file)))
      // A file of some bytes only prints that the installation is incomplete.
      .find((file) => Fs.existsSync(file) && Fs.statSync(file).size > 1_000_000)
    return existing(found ?? "", name)
  }
  await row(
    "Bun",
    async () => run(program("bun", "bin/bun.exe", "bin/bun"), ["run", smoke], { DATABASE_URL: await database(server) })
  )
  await row(
    "Deno",
    async () =>
      run(program("deno", "deno", "deno.exe"), ["run", "-A", "--no-check", "--node-modules-dir=manual", smoke], {
        DATABASE_URL: await database(server)
      })
  )
}

const compilers = async () => {
  for (const version of ["5.9", "6.0", "7.0"]) {
    await row(`TypeScript ${version}`, async () => {
      const tsc = existing(Path.join(folderOf(`typescript-${version}`), "bin/tsc"), `TypeScript ${version}`)
      const options =
        "--noEmit --strict --exactOptionalPropertyTypes --module nodenext --target es2024 --lib es2024,dom"
      const args = [...options.split(" "), "--types", "node", "--skipLibCheck", "--ignoreConfig", smoke]
      await run(process.execPath, [tsc, ...version === "5.9" ? args.filter((arg) => arg !== "--ignoreConfig") : args])
      return "no error"
    })
  }
}

const bundled = async (server: string) => {
  const temp = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-matrix-"))
  for (const [name, bundle] of Object.entries(bundlers)) {
    await row(name, async () => {
      const folder = Path.join(temp, name)
      const file = Path.join(folder, "bundle.mjs")
      Fs.mkdirSync(folder)
      await bundle(smoke, file, require)
      return run(process.execPath, [file], { DATABASE_URL: await database(server) }, folder)
    })
  }
  Fs.rmSync(temp, { recursive: true })
}

const servers = async () => {
  for (const version of ["14", "15", "16", "17"]) {
    await row(`PostgreSQL ${version}`, async () => {
      const packageFolder = existing(folderOf(`postgres-${version}`), `PostgreSQL ${version}`)
      return Effect.runPromise(Effect.scoped(Effect.gen(function*() {
        const { url } = yield* PostgresServer.make({ packageFolder })
        return yield* Effect.promise(async () => onNode(await database(url)))
      })))
    })
  }
}

const settingsOf = ["TimeZone = 'Asia/Kathmandu'", "DateStyle = 'SQL, DMY'", "IntervalStyle = 'sql_standard'"]

const databasesOf = async (server: string) => {
  const utf8 = "ENCODING 'UTF8'"
  await row("locale C", async () => onNode(await database(server, `${utf8} LOCALE 'C'`)))
  for (const locale of ["en-US", "tr-TR"]) {
    await row(`ICU ${locale}`, async () => {
      const url = await database(server, `${utf8} LOCALE_PROVIDER icu ICU_LOCALE '${locale}' LOCALE 'C'`)
      return onNode(url)
    })
  }
  await row("another time zone and date style", async () => onNode(await database(server, "", settingsOf)))
  for (const encoding of ["SQL_ASCII", "LATIN1"]) {
    await row(`${encoding}, which is rejected`, async () => {
      const url = await database(server, `ENCODING '${encoding}' LOCALE 'C'`)
      const message = await onNode(url).then(() => "accepted", String)
      if (!message.includes("needs a database with encoding UTF8")) throw new Error(message)
      return "StoreMisconfigured"
    })
  }
}

const connections = async (server: PostgresServer.PostgresServer, sockets: string, hasTls: boolean) => {
  await row("a Unix socket", async () => {
    const url = await database(server.url)
    return onNode(url, { SOCKET: Path.join(sockets, `.s.PGSQL.${new URL(url).port}`) })
  })
  await row("TLS", async () => {
    if (!hasTls) throw new Skipped("this machine has no openssl")
    return onNode(await database(server.url), { TLS: "yes" })
  })
  for (const mode of ["transaction", "session"] as const) {
    await row(`pgbouncer, ${mode} mode`, async () => {
      if (Pgbouncer.program === undefined) throw new Skipped("this machine has no pgbouncer")
      const url = await database(server.url)
      return Effect.runPromise(Effect.scoped(Effect.flatMap(
        Pgbouncer.make(url, 5, mode),
        (pooler) => Effect.promise(() => onNode(pooler, { PREPARE: mode === "session" ? "yes" : "no" }))
      )))
    })
  }
}

/** Makes a certificate that the server's user may read, and returns the settings that use it. */
const tls = (): Readonly<Record<string, string>> => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-tls-"))
  const [key, certificate] = [Path.join(folder, "key.pem"), Path.join(folder, "certificate.pem")]
  try {
    const request = `req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout ${key} -out ${certificate}`
    execFileSync("openssl", request.split(" "), { stdio: "ignore" })
  } catch {
    return {}
  }
  const user = PostgresServer.serverUser()
  if (user !== undefined) {
    for (const path of [folder, key, certificate]) Fs.chownSync(path, user.uid, user.gid)
  }
  Fs.chmodSync(key, 0o600)
  return { ssl: "on", ssl_key_file: key, ssl_cert_file: certificate }
}

const secure = tls()
const sockets = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-sockets-"))
const serverUser = PostgresServer.serverUser()
if (serverUser !== undefined) Fs.chownSync(sockets, serverUser.uid, serverUser.gid)
await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const server = yield* PostgresServer.make({
    auth: "scram-sha-256",
    settings: { fsync: "off", unix_socket_directories: sockets, ...secure }
  })
  yield* Effect.promise(async () => {
    await row("PGlite", () => onNode(undefined))
    await row("PostgreSQL 18", async () => onNode(await database(server.url)))
    await servers()
    await runtimes(server.url)
    await databasesOf(server.url)
    await connections(server, sockets, secure["ssl"] === "on")
    await compilers()
    await bundled(server.url)
  })
})))
if (secure["ssl_key_file"] !== undefined) Fs.rmSync(Path.dirname(secure["ssl_key_file"]), { recursive: true })
Fs.rmSync(sockets, { recursive: true })
if (failures > 0) process.exitCode = 1
console.log(failures === 0 ? "every environment passed or is named as skipped" : `${failures} environments failed`)
