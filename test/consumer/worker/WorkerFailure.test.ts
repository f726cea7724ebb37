/** After which failures a worker goes on by itself. */
import { assert, describe, it } from "@effect/vitest"
import { Cause } from "effect"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import * as WorkerFailure from "../../../src/consumer/worker/WorkerFailure.ts"
import { fromSqlError } from "../../../src/pg/PgErrors.ts"

const failed = (code: string, hasClaimed: boolean) =>
  WorkerFailure.make(
    Cause.fail(fromSqlError(
      new SqlError({
        reason: new UnknownError({ message: "failed", cause: { code, message: "failed" }, operation: "query" })
      })
    )),
    hasClaimed
  ).state

describe("a failure of a worker", () => {
  it("on a server that is read-only is passing, once the worker has claimed", () => {
    assert.strictEqual(failed("25006", true), "retrying")
    assert.strictEqual(failed("25006", false), "stuck")
  })

  it("is passing if the same request may succeed later, else an operator must act", () => {
    assert.strictEqual(failed("57P01", false), "retrying")
    assert.strictEqual(failed("3F000", true), "stuck")
  })

  it("that is a defect needs an operator", () => {
    assert.strictEqual(WorkerFailure.make(Cause.die(new Error("a defect")), true).state, "stuck")
  })
})
