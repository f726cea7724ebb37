/** The process of one contestant: makes it, and measures whatever cell it is sent. */
import { cells } from "./cells.ts"
import type { Contestant, Make } from "./contestant.ts"
import { type Measure, measurer, seed } from "./measure.ts"

export interface Request {
  readonly cell: string
  readonly seconds: number
}

export type Reply =
  | { readonly measured: Awaited<ReturnType<Measure>> | null }
  | { readonly failed: string }

const makers = {
  floor: async () => ready((await import("./contestants/floor.ts")).make),
  evsrc: async () => ready((await import("./contestants/evsrc.ts")).make),
  emmett: async () => ready((await import("./contestants/emmett.ts")).make),
  castore: async () => ready((await import("./contestants/castore.ts")).make),
  "dcb-es": async () => ready((await import("./contestants/dcb-es.ts")).make)
}

export type Name = keyof typeof makers

const ready = async <Run>(make: Make<Run>): Promise<{ readonly measure: Measure; readonly close: () => unknown }> => {
  const contestant: Contestant<Run> = await make(url, pool)
  await seed(contestant)
  return { measure: measurer(contestant, server), close: contestant.close }
}

const [name = "", url = "", poolText = "", serverText = ""] = process.argv.slice(2)
const pool = Number(poolText)
const server = serverText === "" ? undefined : Number(serverText)

const send = (reply: Reply) => process.send!(reply)
const failed = (cause: unknown): Reply => ({
  failed: cause instanceof Error ? cause.stack ?? cause.message : String(cause)
})

const isName = (text: string): text is Name => Object.hasOwn(makers, text)

try {
  if (!isName(name)) throw new Error(`There is no contestant ${name}`)
  const { close, measure } = await makers[name]()
  process.on("message", async ({ cell: id, seconds }: Request) => {
    try {
      const cell = cells.find((cell) => cell.id === id)
      send({ measured: cell === undefined ? null : await measure(cell, seconds) ?? null })
    } catch (cause) {
      send(failed(cause))
    }
  })
  process.on("disconnect", async () => {
    await close()
    process.exit()
  })
  send({ measured: null })
} catch (cause) {
  send(failed(cause))
  process.disconnect()
}
