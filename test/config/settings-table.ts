import { readFileSync } from 'node:fs'
import t from 'tap'
import { settingsTable } from '../../src/config/settings.js'

t.test(
  "the README's table of settings is the schema's (else: npx tsx scripts/settings-table.ts)",
  async (t) => {
    t.ok(readFileSync('README.md', 'utf8').includes(settingsTable()))
  },
)
