/** The contract of a store on a second engine, a real etcd: it keeps the port honest. */
import t from 'tap'
import { startEtcd } from './fixtures/etcd.js'
import { openEtcdStore } from './fixtures/etcd-store.js'
import { checkStore } from './fixtures/store-contract.js'

t.test('with a real etcd', async (t) => {
  const etcd = await startEtcd(t)
  if (etcd === undefined) return
  await checkStore(t, (name) => openEtcdStore({ url: etcd.url, path: `contract/${name} with a space` }))
})
