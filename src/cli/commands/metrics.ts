/** `prefect-auth metrics`: numbers for a collector. */
import type { Command } from 'commander'
import type { Start } from '../start.js'

export function addMetrics(program: Command, start: Start): void {
  program
    .command('metrics')
    .description("the daemon's metrics, as Prometheus reads them")
    .action(() =>
      start('metrics', {}, async (session) => {
        session.print((await session.client.metrics()).trimEnd())
      }),
    )
}
