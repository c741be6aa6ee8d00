/** The proxy in the description of the API: its paths are Prefect's, so there is one for all. Pure. */

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const

const OPERATION = {
  summary: "The profile's own Prefect API, with its key in the place of our token",
  description:
    'HTTP and WebSocket, every body. The token comes as Bearer, as Basic prefect-auth:TOKEN, or in the first frame of a WebSocket.',
  'x-power': 'proxy',
  security: [{}, { token: [] }, { tokenAsPassword: [] }],
  responses: {
    503: {
      description: 'no valid key for now, or no Prefect: wait as Retry-After says',
      headers: {
        'Retry-After': { schema: { type: 'integer' } },
        'Prefect-Maintenance': { schema: { const: 'true' } },
      },
    },
    default: {
      description: "Prefect's answer; our own refusals have Prefect's shape",
      content: { '*/*': {} },
    },
  },
} as const

export const PROXY_PATH = {
  '/proxy/{profile}/api/{path}': {
    parameters: [
      { name: 'profile', in: 'path', required: true, schema: { type: 'string' } },
      {
        name: 'path',
        in: 'path',
        required: true,
        description: 'the rest, slashes and all, as Prefect’s clients ask for it',
        schema: { type: 'string' },
      },
    ],
    ...Object.fromEntries(METHODS.map((method) => [method, OPERATION])),
  },
}

export const PROXY_SECURITY = {
  tokenAsPassword: { type: 'http', scheme: 'basic', description: 'user prefect-auth, the token as password' },
} as const
