/** Trouble at the start that a person can mend, in one sentence. */
export class StartError extends Error {}

/**
 * @param wanted the port that could not be had
 * @param another how to choose another one
 */
export const portTrouble =
  (wanted: number, another: (port: number) => string) =>
  (error: NodeJS.ErrnoException): never => {
    if (error.code === 'EADDRINUSE') {
      throw new StartError(
        `Port ${wanted} is in use, perhaps by another image-analyzer; choose another with ${another(wanted + 1)}.`,
      )
    }
    if (error.code === 'EACCES') {
      throw new StartError(
        `Port ${wanted} needs rights that you do not have; choose one above 1023, as with ${another(wanted + 8_000)}.`,
      )
    }
    throw new StartError(error.message)
  }
