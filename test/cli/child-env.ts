/** The environment that exec gives to a command. */
import t from 'tap'
import { planChildEnv } from '../../src/cli/fast/child.js'

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
