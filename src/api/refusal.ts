/** How the API answers what was thrown, and requests for routes that do not exist. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { BrokerError } from '../base/errors.js'
import type { Guard } from '../http/guard.js'
import { createProblems } from '../http/problem.js'
import type { Door } from '../tokens/access.js'
import type { RouteContext } from './context.js'

export type DoorOf = (request: FastifyRequest) => Door | undefined

/** Answers what was thrown, and writes it to the audit log if the caller was refused. */
export function createRefusal({ trail, guard, clock, log }: RouteContext, doorOf: DoorOf) {
  const problems = createProblems({ clock, log })
  return (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const error = problems.send(request, reply, thrown)
    const door = doorOf(request)
    if (door !== undefined) trail.refused(request, door, guard.knownCaller(request), error)
  }
}

/** The refusal of the guard, if it has one: the router's own refusals skip the hooks. */
export function guardsRefusal(guard: Guard, request: FastifyRequest, error: unknown): unknown {
  try {
    guard.admit(request)
    return error
  } catch (refusal) {
    return refusal
  }
}

export function unknownRoute(methods: readonly string[]): BrokerError {
  if (methods.length === 0) {
    return new BrokerError('not_found', 'there is no such path', {
      hint: 'GET /openapi.json lists all routes',
    })
  }
  return new BrokerError('method_not_allowed', `this path accepts only ${methods.join(', ')}`)
}
