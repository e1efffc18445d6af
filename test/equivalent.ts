import type { MadeMutant } from './made.ts'

/** Made mutants that do what the code does, as far as anybody can see, each with the reason. */
export const EQUIVALENT: (Pick<MadeMutant, 'file' | 'line' | 'of' | 'to'> & { why: string })[] = []
