/** What we use of undici, by name: a bundle that is split has a package of CommonJS as one default export. */
export { Agent, ProxyAgent } from 'undici'
