/** The command of exec: how it is found, whether execve can run it, and the environment it gets. */
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findCommand, planChildEnv } from '../../src/cli/fast/child.js'

t.test('takes the five variables from the profile and everything else from the caller', async (t) => {
  const caller = {
    PATH: '/bin',
    PREFECT_PROFILE: 'other',
    PREFECT_API_KEY: 'old',
    PREFECT_API_AUTH_STRING: 'a:b',
    PREFECT_CLOUD_API_URL: 'https://elsewhere',
    PREFECT_CLOUD_UI_URL: '',
    PREFECT_LOGGING_LEVEL: 'DEBUG',
  }

  const { env, overruled } = planChildEnv(caller, { PREFECT_API_URL: 'https://u', PREFECT_API_KEY: 'new' })

  t.same(env, {
    PATH: '/bin',
    PREFECT_PROFILE: 'other',
    PREFECT_LOGGING_LEVEL: 'DEBUG',
    PREFECT_API_URL: 'https://u',
    PREFECT_API_KEY: 'new',
  })
  t.same(overruled, ['PREFECT_API_KEY', 'PREFECT_API_AUTH_STRING', 'PREFECT_CLOUD_API_URL'])
})

t.test('an empty value is one, unless it means the same or is ours', async (t) => {
  const served = { PREFECT_API_URL: 'u', PREFECT_API_KEY: 'k', PREFECT_API_AUTH_STRING: '' }
  const caller = { PREFECT_API_URL: '', PREFECT_API_KEY: '', PREFECT_API_AUTH_STRING: '' }

  const { env, overruled } = planChildEnv({ ...caller, PREFECT_CLOUD_UI_URL: '' }, served)

  t.same(env, served)
  t.same(overruled, ['PREFECT_API_URL', 'PREFECT_API_KEY'])
  t.same(planChildEnv(caller, served, (name) => name === 'PREFECT_API_KEY').overruled, ['PREFECT_API_URL'])
})

t.test(
  'removes the old name of the Cloud URL, which Prefect 2 prefers, unless the profile has it',
  async (t) => {
    const caller = { PREFECT_CLOUD_URL: 'https://elsewhere' }
    t.same(planChildEnv(caller, { PREFECT_API_URL: 'u' }), {
      env: { PREFECT_API_URL: 'u' },
      overruled: ['PREFECT_CLOUD_URL'],
    })
    const proxied = 'http://127.0.0.1:4280/proxy/a/api'
    t.same(
      planChildEnv({ PREFECT_CLOUD_URL: proxied }, { PREFECT_CLOUD_URL: proxied }, () => true),
      {
        env: { PREFECT_CLOUD_URL: proxied },
        overruled: [],
      },
    )
  },
)

t.test('accepts equal values, and sets nothing but the five variables', async (t) => {
  const { env, overruled } = planChildEnv(
    { PREFECT_API_URL: 'u' },
    { PREFECT_API_URL: 'u', LD_PRELOAD: '/evil.so' },
  )

  t.same(env, { PREFECT_API_URL: 'u' })
  t.same(overruled, [])
})

t.test('removes what the proxy alone needed, and only if the proxy set it', async (t) => {
  const silence = { PREFECT_SILENCE_API_URL_MISCONFIGURATION: 'true' }
  const proxied = { ...silence, PREFECT_API_KEY: `pab_${'t'.repeat(43)}`, NO_PROXY: 'corp,127.0.0.1' }
  const table = [
    [proxied, {}, { NO_PROXY: 'corp,127.0.0.1' }],
    [proxied, silence, { ...silence, NO_PROXY: 'corp,127.0.0.1' }],
    [{ ...silence, PREFECT_API_KEY: 'pnu_x' }, {}, silence],
    [silence, {}, silence],
  ] as const
  for (const [caller, served, left] of table) t.same(planChildEnv(caller, served).env, left)
})

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

  for (const [command, expected] of table) t.same(findCommand(command, path), expected, command)
  t.match(findCommand('sh', undefined), { kind: 'found' })
})
