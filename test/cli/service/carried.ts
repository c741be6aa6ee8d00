/** `service install` names the variables of this shell that it writes into the service, before it does. */
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { describeCarried } from '../../../src/cli/commands/machine/service.js'
import { bareEnv } from '../../fixtures/built-cli.js'
import { runToEnd } from '../../fixtures/run-to-end.js'

t.test('names each variable, without passwords and without steering the terminal', async (t) => {
  t.same(describeCarried({}), [])
  t.match(describeCarried({ A: 'b' }, 'daemon')[0], /the daemon gets, until setup runs again/)
  const said = describeCarried({
    HTTPS_PROXY: 'http://me:hunter2@proxy.corp:3128',
    NODE_EXTRA_CA_CERTS: '/repo/evil\u001b[2J.pem',
    PREFECT_CLOUD_API_URL: 'https://evil.example/api',
  }).join('\n')
  t.match(said, /HTTPS_PROXY=.*proxy\.corp:3128/)
  t.match(said, 'PREFECT_CLOUD_API_URL=https://evil.example/api')
  t.match(said, 'NODE_EXTRA_CA_CERTS=/repo/evil[2J.pem')
  t.notOk(said.includes('hunter2') || said.includes('\u001b'))
})

t.test('also where nothing is written yet', async (t) => {
  const program = fileURLToPath(new URL('../../../dist/auth.cjs', import.meta.url))
  const shell = { ...bareEnv(t.testdir()), ALL_PROXY: 'http://proxy.corp:3128', SSL_CERT_FILE: '/x.pem' }
  const { stderr } = await runToEnd(process.execPath, [program, 'service', 'install', '--print'], {
    env: shell,
  })
  t.match(stderr, /ALL_PROXY=http:\/\/proxy\.corp:3128/)
  t.match(stderr, /SSL_CERT_FILE=\/x\.pem/)
})
