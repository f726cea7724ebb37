/** `npm run bench:round-trips`: the table of round trips alone. bench/README.md says what it shows. */
import { install } from "../install.ts"
import { text } from "../report.ts"
import { start } from "../server.ts"
import { settings } from "../settings.ts"
import { lines, measure } from "./table.ts"

install()
const names = ["floor", "evsrc", "emmett", "castore", "dcb-es"].filter((name) => settings.only?.includes(name) ?? true)
const server = await start(process.env["BENCH_DATABASE_URL"])
try {
  const table = await measure(names, server.database, (failure) => {
    process.stderr.write(`${failure}\n`)
    process.exitCode = 1
  })
  process.stdout.write(`${text(lines(table, names))}\n`)
} finally {
  await server.stop()
}
