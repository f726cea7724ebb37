/**
 * How long the stress, fault and race tests run: `npm test` runs the short versions, and `npm run test:long` sets TEST_LENGTH for the
 * long ones. A long run takes the test files that import this module, and those named `*.long.test.ts`, which no other run takes.
 */
export const isLong: boolean = process.env["TEST_LENGTH"] === "long"

/** Returns how often a test repeats what it does: `short` in `npm test`, `long` in `npm run test:long`. */
export const scale = (short: number, long: number): number => isLong ? long : short
