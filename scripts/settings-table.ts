// Writes the table of settings into the README, made of the schema: `tsx scripts/settings-table.ts`.
import { readFileSync, writeFileSync } from 'node:fs'
import { settingsTable } from '../src/config/settings-table.js'

const readme = readFileSync('README.md', 'utf8')
writeFileSync(
  'README.md',
  readme.replace(
    /<!-- settings -->[\s\S]*<!-- \/settings -->/,
    `<!-- settings -->\n${settingsTable()}\n<!-- /settings -->`,
  ),
)
