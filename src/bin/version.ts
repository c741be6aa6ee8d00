/** The version of the package; a house test keeps it equal to package.json. */
export const VERSION = '0.1.0'
