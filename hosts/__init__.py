"""Real hosts: engines that run containers, with the product inside."""
