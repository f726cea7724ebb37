/** A process of a subject: does what it is sent, one task after the other. */
import type { Reply, Subject, Task } from "./task.ts"

const [name, url = ""] = process.argv.slice(2)

const send = (reply: Reply) => process.send!(reply)
const failed = (cause: unknown): Reply => ({
  failed: cause instanceof Error ? cause.stack ?? cause.message : String(cause)
})

const perform = (subject: Subject, { args, task }: Task): Promise<unknown> => {
  const run = subject[task] as ((...args: ReadonlyArray<unknown>) => Promise<unknown>) | undefined
  return run === undefined ? Promise.reject(new Error(`No ${task}`)) : run(...args)
}

try {
  const { make } = await (name === "emmett" ? import("./emmett.ts") : import("./evsrc.ts"))
  const subject = await make(url)
  process.on("message", async (task: Task) => {
    try {
      send({ answer: await perform(subject, task) ?? null })
    } catch (cause) {
      send(failed(cause))
    }
  })
  process.on("disconnect", async () => {
    // An end that hangs, as of a consumer that waits for its next look, is cut short.
    setTimeout(() => process.exit(), 3000).unref()
    await subject.close()
    process.exit()
  })
  send({ answer: null })
} catch (cause) {
  send(failed(cause))
  process.disconnect()
}
