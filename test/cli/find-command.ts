/** Finds a command as a shell does, and knows what execve can run. */
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findCommand } from '../../src/cli/fast/child.js'

t.test('takes the first executable on PATH', async (t) => {
  const root = t.testdir({
    a: { tool: '#!/bin/sh\n', plain: 'x', folder: {} },
    b: { tool: '#!/bin/sh\n', bare: 'echo hi\n', orphan: '#!/no/such/interpreter\n' },
  })
  for (const file of ['a/tool', 'b/tool', 'b/bare', 'b/orphan']) chmodSync(join(root, file), 0o755)
  chmodSync(join(root, 'a/plain'), 0o644)
  const path = `${root}/none:${root}/a:${root}/b`
  const found = (file: string, isForKernel: boolean) => ({
    kind: 'found',
    file: join(root, file),
    isForKernel,
  })
  const table = [
    ['tool', found('a/tool', true)],
    ['bare', found('b/bare', false)],
    ['orphan', found('b/orphan', false)],
    ['plain', { kind: 'not_executable' }],
    ['folder', { kind: 'not_executable' }],
    ['absent', { kind: 'missing' }],
    [`${root}/b/tool`, found('b/tool', true)],
    [`${root}/a/plain`, { kind: 'not_executable' }],
    [process.execPath, { kind: 'found', file: process.execPath, isForKernel: true }],
  ] as const

  for (const [command, expected] of table) t.same(await findCommand(command, path), expected, command)
  t.match(await findCommand('sh', undefined), { kind: 'found' })
})
