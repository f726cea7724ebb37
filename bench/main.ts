/** `npm run bench`: evsrc beside its peers and a floor, on one PostgreSQL. bench/README.md says what it shows. */
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { cpus, totalmem } from "node:os"
import { join } from "node:path"
import { cells } from "./cells.ts"
import { type Child, pgbench, start as startChild } from "./child.ts"
import type { Measured } from "./measure.ts"
import { picture } from "./picture.ts"
import { type Results, table } from "./report.ts"
import { start as startServer } from "./server.ts"
import { settings } from "./settings.ts"
import type { Name } from "./worker.ts"

const here = import.meta.dirname
const say = (text: string) => process.stderr.write(`${text}\n`)

if (!existsSync(join(here, "node_modules"))) {
  say("Installing the peers into bench/node_modules: npm ci --prefix bench")
  execFileSync("npm", ["ci", "--ignore-scripts", "--prefix", here], { stdio: ["ignore", 2, 2] })
}

const names = (["floor", "evsrc", "emmett", "castore", "dcb-es"] satisfies Array<Name>)
  .filter((name) => name === "floor" || (settings.only?.includes(name) ?? true))

const versionOf = (folder: string, name: string): readonly [string, string] => {
  const { version }: { readonly version: string } = JSON.parse(
    readFileSync(join(here, folder, "node_modules", name, "package.json"), "utf8")
  )
  return [name, version]
}

const server = await startServer(process.env["BENCH_DATABASE_URL"])
const children: Array<Child> = []
const rounds = new Map<string, Array<Measured>>()
const failures: Array<string> = []
const began = performance.now()

try {
  for (const name of names) {
    const url = await server.database(name)
    try {
      children.push(await startChild(name, url, settings.pool))
    } catch (cause) {
      failures.push(`${name} did not start: ${String(cause)}`)
      say(failures.at(-1)!)
    }
    const alone = name === "floor" && settings.only === undefined ? pgbench(url, settings.pool) : undefined
    if (alone !== undefined) children.push(alone)
  }
  for (let round = 0; round <= settings.rounds; round++) {
    say(round === 0 ? "Warming up" : `Round ${round} of ${settings.rounds}, after ${elapsed()} s`)
    for (const cell of cells) {
      const latency = cell.kind === "latency"
      if (latency && round === 0) continue
      for (const { measure, name } of children) {
        if (name === "pgbench" && round === 0) continue
        const seconds = latency ? settings.latencySeconds : round === 0 ? settings.warmUpSeconds : settings.seconds
        try {
          const measured = await measure(cell, seconds)
          if (measured === undefined || round === 0) continue
          const key = `${cell.id} ${name}`
          rounds.set(key, [...rounds.get(key) ?? [], measured])
        } catch (cause) {
          failures.push(`${name}, ${cell.title}, round ${round}: ${String(cause)}`)
          say(failures.at(-1)!)
        }
      }
    }
  }
} finally {
  await Promise.all(children.map((child) => child.stop()))
  await server.stop()
}

function elapsed(): number {
  return Math.round((performance.now() - began) / 1000)
}

const results: Results = {
  date: new Date().toISOString(),
  machine: {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`
  },
  versions: Object.fromEntries([
    ["node", process.versions.node],
    ["postgresql", server.version],
    ...["effect", "@effect/sql-pg"].map((name) => versionOf("..", name)),
    ...[
      "pg",
      "@event-driven-io/emmett-postgresql",
      "@castore/event-storage-adapter-postgres",
      "@dcb-es/event-store-postgres"
    ].map((name) => versionOf(".", name))
  ]),
  server: server.settings,
  settings,
  contestants: children.map(({ name }) => name),
  failures,
  entries: cells.flatMap((cell) =>
    children.flatMap(({ name }) => {
      const found = rounds.get(`${cell.id} ${name}`)
      return found === undefined ? [] : [{ cell: cell.id, contestant: name, rounds: found }]
    })
  )
}

writeFileSync(join(here, "results.json"), `${JSON.stringify(results, undefined, 2)}\n`)
writeFileSync(join(here, "results.svg"), picture(results))
process.stdout.write(`${table(results)}\n\n`)
say(`${elapsed()} s; bench/results.json and bench/results.svg are written`)
if (failures.length > 0) {
  say(`${failures.length} failures:\n${failures.join("\n")}`)
  process.exitCode = 1
}
