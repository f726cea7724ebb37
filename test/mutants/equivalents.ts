/** Mutants that behave as the code does, so that no test can notice them. */
export interface Equivalent {
  readonly file: string
  readonly before: string
  readonly after: string
  readonly reason: string
}

export const equivalents: ReadonlyArray<Equivalent> = [
  {
    file: "src/operations/DeliveryAudit.ts",
    before: "parkedAt !== undefined",
    after: "true",
    reason: "The comparison that follows is false for undefined, too."
  },
  {
    file: "src/eventStore/EventAppender.ts",
    before: "written !== undefined",
    after: "false",
    reason: "The read that it saves finds the stream closed at the version of the receipt."
  },
  {
    file: "src/eventStore/memory/MemoryLog.ts",
    before: "row.commandId !== undefined",
    after: "true",
    reason: "Where the check guards a lookup: no command id is undefined, so the lookup finds nothing."
  },
  {
    file: "src/aggregate/AggregateDefinition.ts",
    before: "typeof snapshots === \"string\"",
    after: "false",
    reason: "The string type is a message of the compiler, which no value has."
  }
]
