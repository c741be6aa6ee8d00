/** What status and doctor say of files that are not up to date, or cannot be written. */

import type { Files, KeptFile } from '../files/files.js'
import { defined } from '../std/defined.js'
import type { Examination } from './doctor.js'
import type { Finding } from './listeners.js'

export function noticesOfFiles(files: readonly KeptFile[]): readonly string[] {
  return files.flatMap(({ path, problem }) => {
    if (problem === undefined) return []
    const remedy = problem.hint === undefined ? '' : `; ${problem.hint}`
    return [`the file ${path} is not up to date: ${problem.message}${remedy}`]
  })
}

/** Looks at every file now: its directory may have become another one since the last generation. */
export function planFileExamination(files: Pick<Files, 'list' | 'look'>): Examination {
  return {
    name: 'kept files',
    examine: async () => {
      await files.look()
      return judgeFiles(files.list())
    },
  }
}

function judgeFiles(files: readonly KeptFile[]): Finding {
  const problems = files.flatMap(({ problem }) => problem ?? [])
  const [first, ...more] = problems
  if (first === undefined) {
    const finding = files.length === 0 ? 'no file is kept up to date' : `up to date: ${files.length}`
    return { verdict: 'ok', finding }
  }
  const others = more.map(({ message }) => `; ${message}`).join('')
  return { verdict: 'problem', finding: `${first.message}${others}`, ...defined({ remedy: first.hint }) }
}
