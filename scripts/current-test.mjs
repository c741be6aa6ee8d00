// What compiled test files import as `tap`: the test of the file that is running in this process.
import root from 'tap'

export { root }

let current = root

/** Runs a compiled test file as one test with its name; resolves when all in it is done. */
export function runFile(name, url, timeout) {
  return root.test(name, { timeout }, async (t) => {
    current = t
    await import(url)
  })
}

export default new Proxy(root, {
  get(_root, property) {
    const value = current[property]
    return typeof value === 'function' ? value.bind(current) : value
  },
})
