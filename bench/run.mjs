// Measures the shipped daemon and commands beside yardsticks in the same run: `node bench/run.mjs [SUBJECT]…` after
// `npm run build`. Prints ratios; absolute times are the machine's. README.md says what each subject needs.
import { loadavg } from 'node:os'
import { measureCommands, measurePeers } from './commands.mjs'
import { measureGrowth } from './growth.mjs'
import { measureIdle } from './idle.mjs'
import { cleanUp, heading, say } from './lib.mjs'
import { measurePlugin } from './plugin.mjs'
import { measureRequests } from './requests.mjs'
import { measureStarts } from './starts.mjs'
import { measureWatchers } from './watchers.mjs'

const SUBJECTS = {
  idle: measureIdle,
  starts: measureStarts,
  commands: measureCommands,
  peers: measurePeers,
  plugin: measurePlugin,
  requests: measureRequests,
  watchers: measureWatchers,
  growth: measureGrowth,
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => SUBJECTS[name] === undefined)
if (unknown.length > 0) {
  say(`unknown: ${unknown.join(', ')}; there are ${Object.keys(SUBJECTS).join(', ')}`)
  process.exit(2)
}

const load = () =>
  loadavg()
    .map((each) => each.toFixed(1))
    .join(' ')
say(`load ${load()} at the start\n`)
heading()
try {
  for (const name of wanted.length > 0 ? wanted : Object.keys(SUBJECTS)) await SUBJECTS[name]()
} finally {
  await cleanUp()
}
say(`\nload ${load()} at the end`)
