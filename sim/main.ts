/** `tsx sim/main.ts`: an interactive simulator; prints its URLs and a valid key. */
import { parseArgs } from 'node:util'
import { startCloudSimulator } from './simulator.js'

const USAGE = `usage: tsx sim/main.ts [--port N] [--workspaces N] [--backend URL] [--auto-approve]
  --port N        default: one that is free
  --workspaces N  how many workspaces the account has; default: one, prefect/terry
  --backend URL   API of a real Prefect server behind the workspaces (http://127.0.0.1:4200/api)
  --auto-approve  the login page delivers without a click
`

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    workspaces: { type: 'string' },
    backend: { type: 'string' },
    'auto-approve': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) {
  process.stdout.write(USAGE)
} else {
  const sim = await startCloudSimulator({
    port: Number(values.port ?? 0),
    autoApprove: values['auto-approve'],
    ...(values.workspaces === undefined
      ? {}
      : { accounts: [{ handle: 'prefect', workspaces: Number(values.workspaces) }] }),
    ...(values.backend === undefined ? {} : { workspaceBackend: values.backend }),
  })
  process.stdout.write(
    [
      'Prefect Cloud simulator; not Prefect Cloud.',
      `export PREFECT_CLOUD_API_URL=${sim.apiUrl}`,
      `export PREFECT_CLOUD_UI_URL=${sim.uiUrl}`,
      `# a key that works here and nowhere else: ${sim.issueKey({ name: 'demo' })}`,
      '',
    ].join('\n'),
  )
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void sim.close())
}
