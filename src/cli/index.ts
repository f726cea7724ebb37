/**
 * The command line `evsrc`: its configuration, and the Schemas of its output.
 *
 * @since 0.1.0
 */
export * as EvsrcConfig from "./EvsrcConfig.ts"
export { ExitCode } from "./ExitCode.ts"
export * as Reports from "./Reports.ts"
