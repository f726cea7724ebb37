/** The parts of the command line that need no process: passwords, tables, exit codes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Progress from "../../src/cli/output/Progress.ts"
import { plain, printable } from "../../src/cli/output/Style.ts"
import * as Table from "../../src/cli/output/Table.ts"
import * as Secrets from "../../src/cli/Secrets.ts"
import * as ConsumerNames from "../../src/cli/session/ConsumerNames.ts"

describe("Secrets", () => {
  it("hides the password of a URL, however it is written", () => {
    const none = new Set<string>()
    for (
      const [text, expected] of [
        ["at postgres://ann:word@host/shop", "at postgres://ann:***@host/shop"],
        ["at postgres://ann:a@b:c@host/shop, then", "at postgres://ann:***@host/shop, then"],
        ["postgres://:word@host", "postgres://:***@host"],
        ["postgres://host/shop?password=word&sslmode=require", "postgres://host/shop?password=***&sslmode=require"],
        ["host=a password='a word' user=b", "host=a password=*** user=b"],
        ["postgres://ann@host/shop", "postgres://ann@host/shop"]
      ] as const
    ) assert.strictEqual(Secrets.hideIn(none, text), expected)
  })

  it.effect("hides known passwords in any text", () =>
    Effect.gen(function*() {
      yield* Secrets.rememberEnvironment({ PGPASSWORD: "first-word", OTHER_URL: "mysql://a:second%21@h", PATH: "/bin" })
      yield* Secrets.remember("postgres://a:third-word@h/d")
      assert.strictEqual(
        yield* Secrets.hide("first-word, second!, second%21, third-word, /bin"),
        "***, ***, ***, ***, /bin"
      )
    }).pipe(Effect.provideService(Secrets.Secrets, new Set<string>())))
})

describe("Table", () => {
  const columns = [{ heading: "NAME" }, { heading: "COUNT", isNumber: true }]

  it("aligns numbers to the right, and counts wide characters twice", () => {
    assert.deepStrictEqual(Table.lines(plain, columns, [["日本", "7"], ["a", "1200"]]), [
      "NAME  COUNT",
      "日本      7",
      "a      1200"
    ])
  })

  it("becomes a list on a terminal that is narrower than the table", () => {
    assert.deepStrictEqual(Table.lines({ ...plain, columns: 8 }, columns, [["a", "1"], ["b", ""]]), [
      "NAME: a",
      "COUNT: 1",
      "",
      "NAME: b"
    ])
  })

  it("escapes control characters", () => {
    assert.strictEqual(printable("a\u001b[2Jb\nc\u202ed"), "a\\u001b[2Jb\\u000ac\\u202ed")
  })
})

describe("Progress", () => {
  it("draws a bar for any fraction", () => {
    assert.match(Progress.bar(0.5, "x"), /^█{15}░{15} {2}50 % {2}x$/)
    for (const fraction of [-1, 0, 1, 7]) assert.match(Progress.bar(fraction, ""), /^[█░]{30} +\d+ % {2}$/)
  })
})

describe("ConsumerNames", () => {
  const ids = ["orders@1", "orders@2", "subscription:mail@1", "mail@1"]

  it.effect("finds a consumer by its id, or by its name if only one has it", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* ConsumerNames.choose(ids, "orders@2"), "orders@2")
      assert.strictEqual(yield* ConsumerNames.choose(ids.slice(0, 3), "mail"), "subscription:mail@1")
      const several = yield* Effect.flip(ConsumerNames.choose(ids, "orders"))
      assert.include(several.message, "matches orders@1 and orders@2; give the id of one of them")
      const none = yield* Effect.flip(ConsumerNames.choose([], "orders"))
      assert.include(none.message, "the store has none yet")
    }))
})
