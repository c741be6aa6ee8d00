// Finds the test files that need real parts: they bundle or start one of our programs, or a browser.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const BUILDS = /^import .* from '(?:esbuild|playwright-core)'$/m
const STARTS = /'node:child_process'/
const NODE = /\bprocess\.execPath\b|\bfork\(/
const OWN_IMPORTS = /^(?:import|export|\}).* from '(\.[^']+)'$/gm

/** Returns a function that says of a test file, by its path from `root`, whether it or its fixtures need real parts. */
export function createRealPartsScan(root) {
  const isReal = (text) => BUILDS.test(text) || (STARTS.test(text) && NODE.test(text))
  const texts = new Map()
  const read = (file) => {
    if (!texts.has(file)) texts.set(file, readFileSync(join(root, file), 'utf8'))
    return texts.get(file)
  }
  return (file) => {
    const found = new Set([file])
    for (const path of found) {
      const imported = [...read(path).matchAll(OWN_IMPORTS)]
        .map(([, name]) => join(dirname(path), name).replace(/\.js$/, '.ts'))
        .filter((name) => name.startsWith('test/'))
      for (const name of imported) found.add(name)
    }
    return file.startsWith('test/e2e/') || [...found].some((path) => isReal(read(path)))
  }
}
