/** Writes the man pages into the folder given; run by the build, and not published. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createProgram } from '../cli/main.js'
import { renderManPages } from '../cli/man.js'
import { VERSION } from './version.js'

const [folder = ''] = process.argv.slice(2)
const terminal = {
  ...{ version: VERSION, env: {}, home: '/nonexistent', platform: process.platform, stdout: process.stdout },
  writeOut: () => undefined,
  writeErr: () => undefined,
}
mkdirSync(folder, { recursive: true })
for (const { file, text } of renderManPages(
  createProgram(async () => undefined, terminal),
  VERSION,
))
  writeFileSync(join(folder, file), text)
