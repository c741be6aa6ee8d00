/** What status says of files that are not up to date. */

import type { KeptFile } from '../files/files.js'

export function noticesOfFiles(files: readonly KeptFile[]): readonly string[] {
  return files.flatMap(({ path, problem }) => {
    if (problem === undefined) return []
    const remedy = problem.hint === undefined ? '' : `; ${problem.hint}`
    return [`the file ${path} is not up to date: ${problem.message}${remedy}`]
  })
}
