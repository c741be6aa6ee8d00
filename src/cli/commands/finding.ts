/** One check of the doctor, as the daemon's own have it. */
import type { Doctor } from '../../wire/status.js'

export type Check = Doctor['checks'][number]
export type Finding = Omit<Check, 'name'>
