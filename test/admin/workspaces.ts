import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'

t.test(
  'repairs what a client behind the proxy wrote when a workspace is chosen, and nothing else',
  async (t) => {
    const sim = await startCloudSimulator()
    const broker = await openBroker({ root: await makeRoot(t), sim })
    t.after(async () => {
      await broker.close()
      await sim.close()
    })
    const real = sim.workspaceUrl('prefect/terry')
    const proxied = real.replace(sim.apiUrl, 'http://127.0.0.1:4280/proxy/cloud/api')
    const write = (url: string, key: string) =>
      broker.write(
        `active = "cloud"\n# kept\n[profiles.cloud]\nPREFECT_API_URL = "${url}"\nPREFECT_API_KEY = "${key}"\n`,
      )
    await write(real, sim.issueKey())
    await broker.profiles.adopt('cloud')
    await write(proxied, `pab_${'t'.repeat(43)}`)
    const { warnings } = broker.credentials.state('cloud').resolved
    t.match(
      warnings.join('\n'),
      /goes through the prefect-auth proxy[\s\S]*prefect-auth token.*workspace set/,
    )
    t.notMatch(warnings.join('\n'), /prefect-auth adopt/)
    await broker.workspaces.choose('cloud', 'prefect/terry')
    t.equal(await broker.file(), `active = "cloud"\n# kept\n[profiles.cloud]\nPREFECT_API_URL = "${real}"\n`)
    t.same(broker.credentials.state('cloud').resolved.warnings, [])

    const pasted = sim.issueKey()
    await write(proxied, pasted)
    await broker.workspaces.choose('cloud', 'prefect/terry')
    t.match(await broker.file(), pasted, 'a key of the user’s is the user’s')
  },
)
