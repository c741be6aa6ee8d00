// A test process. Arguments: the folder of the compiled files, and the test files to run in turn.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [compiled = '', ...files] = process.argv.splice(2)
// Only now: tap names the folders of tests after the arguments that it sees.
const { root, runFile } = await import('./current-test.mjs')
// Each file has its time; together they may take longer.
const timeout = root.options.timeout
root.setTimeout(0)
for (const file of files) {
  await runFile(file, pathToFileURL(join(compiled, file.replace(/\.ts$/, '.js'))).href, timeout)
}
// What a file has left open would hold this process until the runner kills it, and all of its results with it: it is named instead.
setTimeout(() => {
  process.stdout.write(`# left open: ${process.getActiveResourcesInfo().join(', ')}\n`)
  process.exit()
}, 20_000).unref()
