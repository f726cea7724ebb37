/**
 * The floor: a prepared multi-row INSERT, and a prepared SELECT, by `pg`. No order of the log is guaranteed, nothing is idempotent, nothing is
 * decoded beyond JSON. A unique (stream, version) is all there is.
 */
import { instanceEvents } from "../cells.ts"
import {
  type Actions,
  type Contestant,
  fresh,
  payload,
  payloads,
  peer,
  promiseLoop,
  type PromiseRun
} from "../contestant.ts"
import type { Pg } from "../pg.ts"

export const table = `create table events (
  position bigserial primary key,
  stream text not null,
  version bigint not null,
  type text not null,
  data jsonb not null,
  metadata jsonb not null,
  recorded_at timestamptz not null default now(),
  unique (stream, version)
)`

export const make = async (url: string, size: number): Promise<Contestant<PromiseRun>> => {
  const { Pool } = await peer<Pg>("pg")
  const pool = new Pool({ connectionString: url, max: size })
  await pool.query(table)
  const append = (stream: string, count: number) => {
    const rows = Array.from(
      { length: count },
      (_, row) => `($${row * 5 + 1},$${row * 5 + 2},$${row * 5 + 3},$${row * 5 + 4},$${row * 5 + 5})`
    )
    const values = payloads(stream, count).flatMap((
      data,
      row
    ) => [stream, row + 1, "OrderNoted", JSON.stringify(data), "{}"])
    return pool.query({
      name: `append${count}`,
      text: `insert into events (stream, version, type, data, metadata) values ${rows.join(",")} returning position`,
      values
    })
  }
  const streamOf = async (stream: string) => {
    const text = "select * from events where stream = $1 order by version"
    return (await pool.query({ name: "read", text, values: [stream] })).rows
  }
  const insert = (stream: string, version: number) =>
    pool.query({
      name: "append1",
      text: "insert into events (stream, version, type, data, metadata) values ($1,$2,$3,$4,$5) returning position",
      values: [stream, version, "OrderNoted", JSON.stringify(payload(stream)), "{}"]
    })
  const actions: Actions<PromiseRun> = {
    append: (events) => () => append(fresh("order"), events),
    read: (stream) => async () => (await streamOf(stream)).length,
    // What a program does by hand: it reads the stream and inserts the next version. It remembers nothing, and does not retry.
    commands: {
      create: (id) => append(id, instanceEvents),
      run: (id) => async () => {
        await insert(id, (await streamOf(id)).length + 1)
      },
      load: (id) => () => streamOf(id)
    },
    log: (events) => async () => {
      let after: unknown = 0
      let count = 0
      while (count < events) {
        const text = "select * from events where position > $1 order by position limit $2"
        const { rows } = await pool.query({ name: "log", text, values: [after, Math.min(500, events - count)] })
        after = rows.at(-1)?.["position"]
        count += rows.length
      }
      return count
    }
  }
  return {
    loop: promiseLoop,
    actions,
    seed: append,
    appendTo: (stream) => append(stream, 1),
    close: () => pool.end()
  }
}
