/**
 * How long the stress, fault and race tests run: `npm test` runs the short versions, and `npm run test:long` sets TEST_LENGTH for the
 * long ones. vitest.config.ts makes a long run of every test file that imports this module.
 */
export const isLong: boolean = process.env["TEST_LENGTH"] === "long"

/** Returns how often a test repeats what it does: `short` in `npm test`, `long` in `npm run test:long`. */
export const scale = (short: number, long: number): number => isLong ? long : short
