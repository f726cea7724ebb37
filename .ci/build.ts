/**
 * `npm run build`: compiles `src` to `dist`, and gives `dist` the texts of the migrations.
 */
import { execFileSync } from "node:child_process"
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "..")
const dist = join(root, "dist")
const migrations = join(root, "migrations")

rmSync(dist, { recursive: true, force: true })
const tsc = join(root, "node_modules/typescript/bin/tsc")
try {
  execFileSync(process.execPath, [tsc, "-p", join(root, "tsconfig.build.json")], { stdio: "inherit" })
} catch {
  process.exit(1)
}

/** The texts by name, with the line ends of Linux: a checkout on Windows may have others. */
const texts = Object.fromEntries(
  globSync("**/*.sql", { cwd: migrations }).toSorted().map((file) => [
    file.replaceAll("\\", "/"),
    readFileSync(join(migrations, file), "utf8").replaceAll("\r\n", "\n")
  ])
)
writeFileSync(
  join(dist, "pg/migrations/MigrationTexts.js"),
  `// Made by .ci/build.ts from migrations/.
const texts = ${JSON.stringify(texts, undefined, 2)};
export const read = async (file) => {
    const text = texts[file];
    if (text === undefined) throw new Error(\`there is no migration \${file}\`);
    return text;
};
`
)
