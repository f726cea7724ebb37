/**
 * Transfers the whole log from one store to another: `LogTransfer.export`, `LogTransfer.import`, and both with a file.
 *
 * @since 0.1.0
 */
export { exportToFile, type ExportToFileOptions, importFromFile } from "./ExportFile.ts"
export { exportLog as export, type ExportOptions, type Progress } from "./LogExporter.ts"
export {
  type ExportSummary,
  importLog as import,
  type ImportOptions,
  type ImportSummary,
  verify
} from "./LogImporter.ts"
